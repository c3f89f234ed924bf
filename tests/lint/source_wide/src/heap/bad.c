unsigned long loam_bad(unsigned long a, unsigned long b)
{
	return (unsigned long)(((unsigned __int128)a * b) >> 64);
}
