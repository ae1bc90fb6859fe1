/* The words of the command line. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* The value of the word `name=value`, decimal or, after 0x, hexadecimal, with K or M behind it; else `otherwise`. */
uint64_t parameter(const char *name, uint64_t otherwise);

/* The same, and ends the guest with EXIT_ARGUMENT unless it is from `low` to `high`. */
uint64_t parameter_within(const char *name, uint64_t otherwise, uint64_t low, uint64_t high);

/* Which of the `count` choices the word `name=choice` says: its index; else 0. Another one ends the guest. */
unsigned parameter_choice(const char *name, const char *const *choices, unsigned count);

/* The text behind `name=` of the word number `index` with that name, up to a space or a zero; NULL without it. */
const char *word_value(const char *name, unsigned index);

/* Reads a number as `parameter` does, and moves `*text` behind it; false if there is none. */
bool read_number(const char **text, uint64_t *value);
