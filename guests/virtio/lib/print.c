#include "print.h"
#include "machine.h"
#include <stdarg.h>
#include <stdbool.h>

#define COM1 0x3f8

static void print_number(uint64_t value, unsigned base) {
	char digits[20];
	unsigned count = 0;
	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	while (count != 0) out8(COM1, digits[--count]);
}

static void print_arguments(const char *format, va_list arguments) {
	for (; *format != 0; format++) {
		if (*format != '%') {
			out8(COM1, *format);
			continue;
		}
		format++;
		bool wide = *format == 'l';
		if (wide) format++;
		if (*format == 's') {
			for (const char *text = va_arg(arguments, const char *); *text != 0; text++) out8(COM1, *text);
		} else if (*format == 'c') {
			out8(COM1, va_arg(arguments, int));
		} else {
			uint64_t value = wide ? va_arg(arguments, uint64_t) : va_arg(arguments, uint32_t);
			print_number(value, *format == 'x' ? 16 : 10);
		}
	}
}

void print(const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	print_arguments(format, arguments);
	va_end(arguments);
}

void bad(const char *format, ...) {
	print("BAD ");
	va_list arguments;
	va_start(arguments, format);
	print_arguments(format, arguments);
	va_end(arguments);
	print("\n");
	end(EXIT_BAD);
}

void end(unsigned status) {
	asm volatile("jmp end_guest" : : "a"(status));
	__builtin_unreachable();
}
