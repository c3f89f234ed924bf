/* A name that C++ keeps for itself. */
struct loam_bad {
	int template;
};
