static inline int helper(void)
{
	return 1;
}
