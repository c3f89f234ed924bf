unsigned __int128 loam_bad(unsigned __int128 a, unsigned __int128 b);
unsigned __int128 loam_bad(unsigned __int128 a, unsigned __int128 b)
{
	return a / b;
}
