#if defined(__riscv)
#endif
