#!/usr/bin/env python3
"""tests/fuzz/make_boot_corpus.py: writes the corpus of the boot fuzz targets, corpus/boot_*/, from the formats' own structures.

Run it after changing it; what it writes is committed, so that fuzzing and the tests need no Python.
"""
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def write(target, name, data):
    folder = os.path.join(HERE, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)


# base, length, e820 type: what a PC with 2 GiB says; then what no PC should say
PC = [(0, 0x9FC00, 1), (0x9FC00, 0x400, 2), (0xF0000, 0x10000, 2), (0x100000, 0x7FEE0000, 1), (0x7FFE0000, 0x20000, 2),
      (0xFFFC0000, 0x40000, 2), (0xFD00000000, 0x300000000, 2)]
WILD = [(0x200000, 0x100000, 1), (0x100000, 0x180000, 3), (0x100000, 0x180000, 3), (0x280000, 0, 1), (0x80800, 0x1000, 4),
        (2**64 - 0x2000, 0x2000, 1), (2**64 - 0x1000, 0x5000, 2), (0, 2**64 - 1, 7), (0x150fff, 2, 5)]


def e820(entries, extra=b""):
    return b"".join(struct.pack("<QQI", *entry) + extra for entry in entries)


for name, entries in (("pc", PC), ("wild", WILD)):
    write("boot_e820", name + "-20", b"\0" + e820(entries))
    write("boot_e820", name + "-24", b"\1" + e820(entries, struct.pack("<I", 1)))
    write("boot_pvh", name, e820(entries, struct.pack("<I", 0)))
    write("boot_limine", name, b"".join(struct.pack("<QQQ", b, n, t - 1) for b, n, t in entries))
write("boot_pvh", "start-info",
      struct.pack("<IIIIQQQQII", 0x336EC578, 1, 0, 1, 0x9000, 0xA000, 0xF5A80, 0xB000, 7, 0))
write("boot_limine", "all-types", b"".join(struct.pack("<QQQ", t << 20, 1 << 20, t) for t in range(10)))


def uefi(entries, distance):
    return b"".join(struct.pack("<IIQQQQ", t, 0, b, 0, n, a).ljust(distance, b"\0") for t, b, n, a in entries)


OVMF = [(3, 0x0, 0xA0, 0xF), (7, 0x100000, 0x700, 0xF), (10, 0x800000, 8, 0xF), (7, 0x808000, 8, 0xF), (9, 0x7F76000, 8, 0xF),
        (5, 0x7F7E000, 0x100, 0x800000000000000F), (6, 0x8000000, 0x80, 0x800000000000000F), (11, 0xE0000000, 0x10000, 1)]
write("boot_uefi", "ovmf", bytes([48]) + uefi(OVMF, 48))
write("boot_uefi", "all-types", bytes([40]) + uefi([(t, t << 24, 0x100, t << 16) for t in range(18)], 40))
write("boot_uefi", "huge", bytes([40]) + uefi([(7, 0x1000, 2**52, 0), (7, 2**64 - 4096, 2**64 - 1, 0)], 40))


def mb2_tag(kind, payload):
    size = 8 + len(payload)
    return struct.pack("<II", kind, size) + payload + b"\0" * (-size % 8)


def mb2(*tags):
    body = b"".join(tags) + mb2_tag(0, b"")
    return struct.pack("<II", 8 + len(body), 0) + body


MAP_TAG = mb2_tag(6, struct.pack("<II", 24, 0) + e820(PC, struct.pack("<I", 0)))
EFI_TAG = mb2_tag(17, struct.pack("<II", 48, 1) + uefi(OVMF, 48))
MODULE = mb2_tag(3, struct.pack("<II", 0x200000, 0x345678) + b"initrd\0")
write("boot_multiboot2", "bios", mb2(mb2_tag(1, b"quiet\0"), MODULE, MAP_TAG))
write("boot_multiboot2", "efi", mb2(MODULE, EFI_TAG))
write("boot_multiboot2", "no-map", mb2(MODULE))


class Tree:
    """A flattened device tree, version 17."""

    def __init__(self, reservations):
        self.body, self.strings, self.reservations = b"", b"", reservations

    def begin(self, name):
        self.body += struct.pack(">I", 1) + self.padded(name.encode() + b"\0")
        return self

    def end(self):
        self.body += struct.pack(">I", 2)
        return self

    def prop(self, name, value):
        key = name.encode() + b"\0"
        if key not in self.strings:
            self.strings += key
        self.body += struct.pack(">III", 3, len(value), self.strings.index(key)) + self.padded(value)
        return self

    def cells(self, name, *values):
        return self.prop(name, struct.pack(">%dI" % len(values), *values))

    def text(self, name, value):
        return self.prop(name, value.encode() + b"\0")

    @staticmethod
    def padded(data):
        return data + b"\0" * (-len(data) % 4)

    def bytes(self):
        reserved = b"".join(struct.pack(">QQ", *pair) for pair in self.reservations + [(0, 0)])
        body = self.body + struct.pack(">I", 9)
        at_body = 40 + len(reserved)
        at_strings = at_body + len(body)
        total = at_strings + len(self.strings)
        return struct.pack(">10I", 0xD00DFEED, total, at_body, at_strings, 40, 17, 16, 0, len(self.strings),
                           len(body)) + reserved + body + self.strings


VIRT = Tree([(0x48000000, 0x10000)])
VIRT.begin("").cells("#address-cells", 2).cells("#size-cells", 2).text("compatible", "linux,dummy-virt")
VIRT.begin("memory@40000000").cells("reg", 0, 0x40000000, 0, 0x80000000).text("device_type", "memory").end()
VIRT.begin("chosen").cells("linux,initrd-start", 0x44000000).cells("linux,initrd-end", 0, 0x44123456).end()
VIRT.begin("cpus").cells("#address-cells", 1).cells("#size-cells", 0).begin("cpu@0").cells("reg", 0).end().end()
VIRT.end()
write("boot_fdt", "virt", VIRT.bytes())

BOARD = Tree([])
BOARD.begin("").cells("#address-cells", 1).cells("#size-cells", 1)
BOARD.begin("memory@0").text("device_type", "memory").cells("reg", 0, 0x3B400000, 0x40000000, 0xBC000000)
BOARD.cells("numa-node-id", 1).end()
BOARD.begin("memory@100").text("device_type", "memory").text("status", "disabled").cells("reg", 256, 4096).end()
BOARD.begin("reserved-memory").cells("#address-cells", 1).cells("#size-cells", 1).prop("ranges", b"")
BOARD.begin("linux,cma").text("compatible", "shared-dma-pool").cells("size", 0x4000000).prop("reusable", b"").end()
BOARD.begin("atf@0").cells("reg", 0, 0x80000).prop("no-map", b"").end()
BOARD.end().end()
write("boot_fdt", "board", BOARD.bytes())

THREE = Tree([(2**64 - 4096, 4096), (0x1000, 0)])
THREE.begin("").cells("#address-cells", 3).cells("#size-cells", 2)
THREE.begin("memory").text("device_type", "memory").cells("reg", 0, 1, 0, 0, 0x1000).end().end()
write("boot_fdt", "three-cells", THREE.bytes())

# boot_map: number of entries, capacity, limit, entries {type | node << 4, base, length}, then operations
MAP = bytes([5, 40]) + struct.pack(">Q", 0)
for kind, base, length in ((1, 0x1000, 0x100000), (6, 0x8000, 0x1234), (0x11, 0x200000, 0x400000), (2, 0x300800, 0x900),
                           (7, 2**64 - 0x8000, 0x10000)):
    MAP += struct.pack(">BQQ", kind, base, length)
MAP += struct.pack(">BQH", 0, 12, 0x3000) + struct.pack(">BQH", 1, 0, 0x5000) + struct.pack(">BQH", 0x46, 0x4000, 0x1000)
MAP += struct.pack(">BQH", 3, 0x2000, 0) + struct.pack(">BQH", 4, 0x500000, 0) + struct.pack(">BQH", 5, 0, 0)
MAP += struct.pack(">BQQ", 0x6E, 2**63, 2**63 - 1) + struct.pack(">BQH", 2, 0x5ff000, 0x1000)
write("boot_map", "mixed", MAP)
write("boot_map", "empty", bytes(10))
