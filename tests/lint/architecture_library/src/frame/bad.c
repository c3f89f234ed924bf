#if defined(__x86_64__)
int loam_bad;
#endif
