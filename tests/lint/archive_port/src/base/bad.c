void loam_port_undocumented(void);
void loam_bad(void);
void loam_bad(void)
{
	loam_port_undocumented();
}
