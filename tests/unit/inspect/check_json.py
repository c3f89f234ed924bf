#!/usr/bin/env python3
"""tests/unit/inspect/check_json.py TEST-PROGRAM INCLUDE: the snapshot's JSON is JSON, and has every field of the headers' structs. Prints TAP."""
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

program, include = sys.argv[1], Path(sys.argv[2])
failures = 0
tests = 0


def check(good, name):
    global failures, tests
    tests += 1
    failures += not good
    print(f"{'ok' if good else 'not ok'} {tests} - {name}")


def fields(header, struct):
    """The names of a struct's fields, as its header declares it."""
    text = re.sub(r"/\*.*?\*/", "", (include / header).read_text(), flags=re.S)
    body = re.search(r"struct " + struct + r" \{(.*?)\n\};", text, re.S).group(1)
    return {re.sub(r".*[ *]", "", re.sub(r"\[.*", "", line.strip())) for line in body.split(";") if line.strip()}


with tempfile.TemporaryDirectory() as folder:
    done = subprocess.run([program, "inspect_json"], env={**os.environ, "LOAM_JSON": folder}, capture_output=True, text=True)
    check(done.returncode == 0, "inspect_json_the_program_runs")
    try:
        whole = json.loads(Path(folder, "whole.json").read_text())
        nothing = json.loads(Path(folder, "nothing.json").read_text())
    except (OSError, ValueError) as error:
        print(f"# {error}\n# {done.stdout}")
        check(False, "inspect_json_is_json")
    else:
        check(True, "inspect_json_is_json")
        for part, header, struct, other in (
                ("frames", "frame.h", "loam_frames_stats", {"nzones"}), ("vmalloc", "vmalloc.h", "loam_vmalloc_stats", set()),
                ("heap", "heap.h", "loam_heap_stats", set()), ("tlb", "paging.h", "loam_tlb_stats", set())):
            missing = fields(header, struct) - other - set(whole[part])
            if missing:
                print(f"# {part}: missing {', '.join(sorted(missing))}")
            check(not missing, f"inspect_json_{part}_has_every_field")
        zone, kind = whole["frames"]["zones"][0], whole["heap"]["classes"][0]
        check(set(zone) == fields("frame.h", "loam_zone_stats"), "inspect_json_zones_have_every_field")
        check(set(kind) == fields("heap.h", "loam_heap_class_stats"), "inspect_json_classes_have_every_field")
        frames = whole["frames"]
        check(frames["ram"] == frames["reserved"] + frames["metadata"] + frames["managed"], "inspect_json_figures_add_up")
        check(any(c["name"] == 'quote " slash \\ tab \t' for c in whole["heap"]["classes"]), "inspect_json_strings_survive")
        check(whole["vmalloc"]["last_failure"]["status"] == "too large", "inspect_json_tells_the_last_failure")
        check(whole["map"][0]["type"] == "usable", "inspect_json_tells_the_map")
        check(all(nothing[part] is None for part in ("map", "frames", "vmalloc", "heap", "tlb")), "inspect_json_absent_layers_are_null")
print(f"1..{tests}")
sys.exit(failures != 0)
