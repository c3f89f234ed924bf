/* kernel/arch/x86_64/font.h: the letters for a screen of pixels. */
#ifndef KERNEL_X86_64_FONT_H
#define KERNEL_X86_64_FONT_H

#include <stdint.h>

/* Of each character from ' ' to '~': five columns, left to right, the topmost of seven pixels in bit 0. */
#define FONT_COLUMNS 5
#define FONT_ROWS 7
extern const uint8_t font['~' - ' ' + 1][FONT_COLUMNS];

#endif
