/* Output on COM1, and the end of the guest. */
#pragma once
#include <stdint.h>

/* What a guest writes to the debug-exit port (lib/layout.inc). */
enum { EXIT_OK = 0x10, EXIT_BAD = 0x11, EXIT_ARGUMENT = 0x13 };

/* Prints with %s, %c, %u, %lu, %x and %lx; no widths. */
__attribute__((format(printf, 1, 2))) void print(const char *format, ...);

/* Prints `BAD `, the text and a line end; ends the guest with EXIT_BAD. */
__attribute__((format(printf, 1, 2))) _Noreturn void bad(const char *format, ...);

/* Ends the guest with that status. */
_Noreturn void end(unsigned status);
