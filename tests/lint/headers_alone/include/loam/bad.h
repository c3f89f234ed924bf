/* Leans on what its includer included. */
size_t loam_bad(void);
