/* One too many. */
/** loam_port_f1() - documented. */
void loam_port_f1(void);
/** loam_port_f2() - documented. */
void loam_port_f2(void);
/** loam_port_f3() - documented. */
void loam_port_f3(void);
/** loam_port_f4() - documented. */
void loam_port_f4(void);
/** loam_port_f5() - documented. */
void loam_port_f5(void);
/** loam_port_f6() - documented. */
void loam_port_f6(void);
/** loam_port_f7() - documented. */
void loam_port_f7(void);
/** loam_port_f8() - documented. */
void loam_port_f8(void);
/** loam_port_f9() - documented. */
void loam_port_f9(void);
/** loam_port_f10() - documented. */
void loam_port_f10(void);
/** loam_port_f11() - documented. */
void loam_port_f11(void);
/** loam_port_f12() - documented. */
void loam_port_f12(void);
/** loam_port_f13() - documented. */
void loam_port_f13(void);
/** loam_port_f14() - documented. */
void loam_port_f14(void);
/** loam_port_f15() - documented. */
void loam_port_f15(void);
/** loam_port_f16() - documented. */
void loam_port_f16(void);
/** loam_port_f17() - documented. */
void loam_port_f17(void);
/** loam_port_f18() - documented. */
void loam_port_f18(void);
/** loam_port_f19() - documented. */
void loam_port_f19(void);
/** loam_port_f20() - documented. */
void loam_port_f20(void);
/** loam_port_f21() - documented. */
void loam_port_f21(void);
