int loam_vmalloc_bad(void);
int loam_frame_bad(void);
int loam_frame_bad(void)
{
	return loam_vmalloc_bad() + 1;
}
