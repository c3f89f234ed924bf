/* tests/fuzz/arch/inline.h: stands where kernel/arch/arch.h looks for an architecture's. Nothing of it is called by what is fuzzed. */
