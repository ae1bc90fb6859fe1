#include "device.h"
#include "interrupts.h"
#include "machine.h"
#include "print.h"
#include "words.h"
#include <stddef.h>

#define MAGIC 0x74726976u /* "virt" */
/* Longer than a device may take to reset, in time stamps. */
#define RESET_CYCLES 30000000000ul

bool device_find(struct device *device, unsigned *slot) {
	for (;;) {
		const char *text = word_value("virtio_mmio.device", *slot);
		if (text == NULL || *slot >= SLOTS) return false;
		uint64_t size, base, line;
		bool read = read_number(&text, &size) && *text++ == '@' && read_number(&text, &base) && *text++ == ':' &&
			read_number(&text, &line);
		if (!read) {
			print("parameter virtio_mmio.device: not SIZE@BASE:LINE\n");
			end(EXIT_ARGUMENT);
		}
		*device = (struct device){.base = base, .size = size, .slot = (*slot)++, .line = line};
		if (read32(base + REG_MAGIC) != MAGIC || read32(base + REG_VERSION) != 2) {
			bad("no virtio-mmio device of version 2 at 0x%lx", base);
		}
		device->id = read32(base + REG_DEVICE_ID);
		if (device->id == 0) continue;
		if (options.interrupts) interrupts_route(device->slot, base, line);
		return true;
	}
}

const char *device_name(uint32_t id) {
	switch (id) {
	case ID_NET: return "net";
	case ID_BLK: return "blk";
	case ID_CONSOLE: return "con";
	case ID_RNG: return "rng";
	case ID_BALLOON: return "bal";
	case ID_VSOCK: return "vs";
	default: return "device";
	}
}

void device_reset(const struct device *device) {
	uint64_t start = tsc();
	write32(device->base + REG_STATUS, 0);
	while (read32(device->base + REG_STATUS) != 0) {
		if (tsc() - start > RESET_CYCLES) bad("%s at 0x%lx does not reset", device_name(device->id), device->base);
		relax();
	}
}

static void add_status(const struct device *device, uint32_t bit) {
	write32(device->base + REG_STATUS, read32(device->base + REG_STATUS) | bit);
}

bool device_negotiate(struct device *device, uint64_t wanted) {
	uint64_t base = device->base;
	device_reset(device);
	add_status(device, STATUS_ACKNOWLEDGE);
	add_status(device, STATUS_DRIVER);
	device->offered = 0;
	for (unsigned word = 0; word < 2; word++) {
		write32(base + REG_DEVICE_FEATURES_SEL, word);
		device->offered |= (uint64_t)read32(base + REG_DEVICE_FEATURES) << (32 * word);
	}
	device->agreed = device->offered & (wanted | options_features());
	for (unsigned word = 0; word < 2; word++) {
		write32(base + REG_DRIVER_FEATURES_SEL, word);
		write32(base + REG_DRIVER_FEATURES, device->agreed >> (32 * word));
	}
	add_status(device, STATUS_FEATURES_OK);
	return (read32(base + REG_STATUS) & STATUS_FEATURES_OK) != 0;
}

static void write_address(const struct device *device, unsigned reg, uint64_t address) {
	write32(device->base + reg, address);
	write32(device->base + reg + 4, address >> 32);
}

bool device_queue(const struct device *device, unsigned index, struct queue *queue, unsigned segments) {
	uint64_t base = device->base;
	write32(base + REG_QUEUE_SEL, index);
	uint32_t most = read32(base + REG_QUEUE_NUM_MAX);
	if (most == 0 || read32(base + REG_QUEUE_READY) != 0) return false;
	queue_start(queue, most < options.queue_size ? most : options.queue_size, segments, device->agreed);
	queue->doorbell = base + REG_QUEUE_NOTIFY;
	queue->name = device_name(device->id);
	queue->index = index;
	write32(base + REG_QUEUE_NUM, queue->size);
	write_address(device, REG_QUEUE_DESC, (uintptr_t)queue->ring);
	write_address(device, REG_QUEUE_DRIVER, (uintptr_t)queue->driver);
	write_address(device, REG_QUEUE_DEVICE, (uintptr_t)queue->device);
	write32(base + REG_QUEUE_READY, 1);
	return true;
}

void device_ready(const struct device *device) {
	add_status(device, STATUS_DRIVER_OK);
}

void device_print(const struct device *device, const struct queue *queue) {
	print("virtio %s base=0x%lx line=%u", device_name(device->id), device->base, device->line);
	print(" offered=0x%lx agreed=0x%lx ring=%s", device->offered, device->agreed, queue->packed ? "packed" : "split");
	print(" indirect=%u event=%u inorder=%u size=%u\n", queue->indirect, queue->event, queue->in_order, queue->size);
}

bool device_has(const struct device *device, uint64_t feature) {
	return (device->agreed & feature) != 0;
}

uint32_t device_status(const struct device *device) {
	return read32(device->base + REG_STATUS);
}

uint8_t config8(const struct device *device, unsigned offset) {
	return read8(device->base + REG_CONFIG + offset);
}

uint16_t config16(const struct device *device, unsigned offset) {
	return read16(device->base + REG_CONFIG + offset);
}

uint32_t config32(const struct device *device, unsigned offset) {
	return read32(device->base + REG_CONFIG + offset);
}

uint64_t config64(const struct device *device, unsigned offset) {
	for (;;) {
		uint32_t generation = read32(device->base + REG_CONFIG_GENERATION);
		uint64_t value = config32(device, offset) | (uint64_t)config32(device, offset + 4) << 32;
		if (read32(device->base + REG_CONFIG_GENERATION) == generation) return value;
	}
}
