/* bench/linux/init.c: the first and only program of that Linux: load the module, say how that went, turn the machine off. Needs no C library. */

enum { SYS_WRITE = 1, SYS_OPEN = 2, SYS_REBOOT = 169, SYS_FINIT_MODULE = 313 };

static long call(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

void _start(void);
void _start(void)
{
	static const char good[] = "loam_bench: done\n", bad[] = "loam_bench: the module failed\n";
	long file = call(SYS_OPEN, (long)"/loam_bench.ko", 0, 0, 0);
	long status = call(SYS_FINIT_MODULE, file, (long)"", 0, 0);

	if (status == 0)
		call(SYS_WRITE, 1, (long)good, sizeof(good) - 1, 0);
	else
		call(SYS_WRITE, 1, (long)bad, sizeof(bad) - 1, 0);
	call(SYS_REBOOT, 0xfee1dead, 0x28121969, 0x4321fedc, 0); /* power off */
	for (;;)
		;
}
