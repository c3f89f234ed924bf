#ifdef __aarch64__
int broadcast;
#endif
