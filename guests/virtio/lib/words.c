#include "words.h"
#include "print.h"
#include <stddef.h>

static const char *const command_line = (const char *)0x210000; /* CMDLINE of lib/layout.inc */

/* Where `text` goes on after `start`; NULL if it starts otherwise. */
static const char *after(const char *text, const char *start) {
	while (*start != 0) {
		if (*text++ != *start++) return NULL;
	}
	return text;
}

const char *word_value(const char *name, unsigned index) {
	const char *word = command_line;
	while (*word != 0) {
		const char *rest = after(word, name);
		if (rest != NULL && *rest == '=' && index-- == 0) return rest + 1;
		while (*word != 0 && *word != ' ') word++;
		while (*word == ' ') word++;
	}
	return NULL;
}

static int digit(char c, unsigned base) {
	if (c >= '0' && c <= '9') return c - '0';
	c |= 0x20;
	return base == 16 && c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool read_number(const char **text, uint64_t *value) {
	const char *at = *text;
	unsigned base = at[0] == '0' && (at[1] | 0x20) == 'x' ? 16 : 10;
	if (base == 16) at += 2;
	if (digit(*at, base) < 0) return false;
	for (*value = 0; digit(*at, base) >= 0; at++) *value = *value * base + digit(*at, base);
	unsigned shift = *at == 'K' ? 10 : *at == 'M' ? 20 : 0;
	*value <<= shift;
	*text = shift == 0 ? at : at + 1;
	return true;
}

static _Noreturn void refuse(const char *name) {
	print("parameter %s: not a value that this guest can use\n", name);
	end(EXIT_ARGUMENT);
}

uint64_t parameter(const char *name, uint64_t otherwise) {
	const char *text = word_value(name, 0);
	if (text == NULL) return otherwise;
	uint64_t value;
	if (!read_number(&text, &value) || (*text != 0 && *text != ' ')) refuse(name);
	return value;
}

uint64_t parameter_within(const char *name, uint64_t otherwise, uint64_t low, uint64_t high) {
	uint64_t value = parameter(name, otherwise);
	if (value < low || value > high) refuse(name);
	return value;
}

unsigned parameter_choice(const char *name, const char *const *choices, unsigned count) {
	const char *text = word_value(name, 0);
	if (text == NULL) return 0;
	for (unsigned i = 0; i < count; i++) {
		const char *rest = after(text, choices[i]);
		if (rest != NULL && (*rest == 0 || *rest == ' ')) return i;
	}
	refuse(name);
}
