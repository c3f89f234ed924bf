int loam_bad(int a)
{
	return (int)(a * (double)3);
}
