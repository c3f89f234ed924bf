void loam_bad(double *a, double b);
void loam_bad(double *a, double b)
{
	*a = *a * b;
}
