/* Instructions that C has no word for. All work at CPL3: the pages are open to it and IOPL is 3. */
#pragma once
#include <stdint.h>

/* MMIO is read and written by plain moves, which every KVM emulates. `at` is a guest-physical address. */
#define MMIO_ACCESSORS(bits, letter, constraint)                                                                       \
	static inline uint##bits##_t read##bits(uint64_t at) {                                                             \
		uint##bits##_t value;                                                                                          \
		asm volatile("mov" letter " (%1), %0" : "=" constraint(value) : "r"(at) : "memory");                           \
		return value;                                                                                                  \
	}                                                                                                                  \
	static inline void write##bits(uint64_t at, uint##bits##_t value) {                                                \
		asm volatile("mov" letter " %0, (%1)" : : constraint(value), "r"(at) : "memory");                              \
	}
MMIO_ACCESSORS(8, "b", "q")
MMIO_ACCESSORS(16, "w", "r")
MMIO_ACCESSORS(32, "l", "r")
MMIO_ACCESSORS(64, "q", "r")
#undef MMIO_ACCESSORS

static inline void out8(uint16_t port, uint8_t value) {
	asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t in8(uint16_t port) {
	uint8_t value;
	asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

/* The time stamp counter. */
static inline uint64_t tsc(void) {
	uint32_t low, high;
	asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

/* Lets the sibling of a spinning CPU run. */
static inline void relax(void) {
	asm volatile("pause" : : : "memory");
}
