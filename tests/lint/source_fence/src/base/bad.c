void loam_bad(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
