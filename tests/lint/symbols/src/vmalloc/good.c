int loam_vmalloc_bad(void);
int loam_vmalloc_bad(void)
{
	return 1;
}
