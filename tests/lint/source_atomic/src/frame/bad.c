int loam_bad(int *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}
