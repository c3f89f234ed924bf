struct frame {
	int x;
};
