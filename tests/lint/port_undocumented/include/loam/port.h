/* Something else. */
void loam_port_bad(void);
