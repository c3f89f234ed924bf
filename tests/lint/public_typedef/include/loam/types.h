typedef unsigned long paddr;
