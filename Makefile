# The front door. Meson and Ninja do the building (meson.build); the scripts in tools/ do the rest.
#
#   make run          boot the reference kernel in QEMU: a tour, then a shell on a terminal   ARCH CPUS MEM ACCEL
#   make run ARCH=host    the same on the machine in a process
#   make iso          build/loam.iso: a CD or USB stick that boots a PC, by BIOS or UEFI
#   make test         everything that can fail: host tests, sanitizers, the kernels in QEMU, lint
#   make test-programs  compilers, interpreters, databases under libloam-malloc, outputs compared
#   make conformance  which rows of the specification are shown by tests
#   make torture      every CPU at everything while everything goes wrong: interrupts, CPUs that leave, refusals  ARCH SECONDS CPUS MEM COUNTED
#   make bench        timings beside their references, table and build/bench.json             LAYER
#   make bench ARCH=x86_64    instructions per operation inside the kernel, counted by QEMU; aarch64, riscv64 too
#   make bench-linux  Linux's own counts in the same QEMU, the reference of make bench ARCH=x86_64
#   make lint         layers, names, symbols, headers, formatting, static analysis
#   make docs         the public headers as HTML in build/docs (Doxygen)
#   make format       put the sources in order with clang-format
#   make clean        remove build/
#
#   ARCH=x86_64 | aarch64 | riscv64 | host   CPUS=4   MEM=2G   ACCEL=tcg | kvm   LAYER=frame   SECONDS=60   COUNTED=1: by a clock that counts instructions
export ARCH CPUS MEM ACCEL LAYER COUNTED

.PHONY: help run iso test torture conformance bench bench-linux lint docs format clean
.NOTPARALLEL:

help:
	@sed -n 's/^#   //p' Makefile
run:
	@tools/run
iso:
	@tools/setup iso
	@tools/build x86_64
	@tools/iso build/loam.iso
	@echo 'build/loam.iso; tools/run_qemu x86_64 --iso build/loam.iso --interactive boots it in QEMU'
test:
	@tools/setup test
	@tools/test
test-programs:
	@tools/setup programs
	@tools/build bench ports/malloc/libloam-malloc.so
	@tests/programs/run build/bench/ports/malloc/libloam-malloc.so
torture:
	@tools/torture $(SECONDS)
conformance:
	@tools/setup test
	@tools/test --conformance
bench:
	@tools/setup bench $(ARCH)
	@tools/bench $(LAYER)
bench-linux:
	@tools/setup bench-linux
	@tools/bench_linux
lint:
	@tools/setup lint
	@tools/test --only lint
docs:
	@tools/setup docs
	@tools/docs
format:
	@tools/setup lint
	@tools/lint --fix
clean:
	rm -rf build
