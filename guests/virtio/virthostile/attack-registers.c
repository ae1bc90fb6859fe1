#include "machine.h"
#include "numbers.h"

/* Values that registers care about, and any others. */
static uint64_t value_for(const struct target *target, unsigned reg) {
	static const uint32_t telling[] = {0, 1, 2, 3, 4, 7, 8, 15, 16, 64, 128, 255, 256, 1024, 32768, 65535, 65536, -1u};
	bool address = reg >= REG_QUEUE_DESC && reg < REG_QUEUE_DEVICE + 8;
	if (address) return any_ring(target) >> (reg % 8 == 4 ? 32 : 0);
	if (once_in(4)) return any_number();
	return telling[any_below(sizeof telling / sizeof *telling)];
}

/* The registers proper, then any place, aligned or not. */
static unsigned any_register(const struct target *target) {
	static const uint16_t known[] = {
		REG_DEVICE_FEATURES_SEL, REG_DRIVER_FEATURES, REG_DRIVER_FEATURES_SEL, REG_QUEUE_SEL, REG_QUEUE_NUM,
		REG_QUEUE_READY, REG_QUEUE_NOTIFY, REG_INTERRUPT_ACK, REG_STATUS, REG_QUEUE_DESC, REG_QUEUE_DESC + 4,
		REG_QUEUE_DRIVER, REG_QUEUE_DRIVER + 4, REG_QUEUE_DEVICE, REG_QUEUE_DEVICE + 4, REG_CONFIG_GENERATION,
		/* Shared memory regions and queue reset. */
		0x0ac, 0x0b0, 0x0b8, 0x0c0,
	};
	if (!once_in(4)) return known[any_below(sizeof known / sizeof *known)];
	unsigned place = any_below(target->device.size - 8);
	return once_in(4) ? place : place & ~7u;
}

void attack_registers(struct target *target) {
	bool config = once_in(3);
	unsigned reg = config ? REG_CONFIG + any_below(target->device.size - REG_CONFIG - 8) : any_register(target);
	uint64_t at = target->device.base + reg, value = value_for(target, reg);
	bool write = once_in(2);
	if (write && !config) target->set_up = false;
	switch (any_below(config || once_in(4) ? 4 : 1)) {
	case 0: write ? write32(at, value) : (void)read32(at); break;
	case 1: write ? write8(at, value) : (void)read8(at); break;
	case 2: write ? write16(at, value) : (void)read16(at); break;
	default: write ? write64(at, value) : (void)read64(at); break;
	}
}
