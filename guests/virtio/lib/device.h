/* A virtio-mmio device, version 2 (virtio 1.2, 4.2), and its initialisation (3.1.1). */
#pragma once
#include "features.h"
#include "queue.h"
#include <stdbool.h>
#include <stdint.h>

/* Device types (virtio 1.2, 5). */
enum { ID_NET = 1, ID_BLK = 2, ID_CONSOLE = 3, ID_RNG = 4, ID_BALLOON = 5, ID_VSOCK = 19 };

/* Registers (virtio 1.2, 4.2.2). */
enum {
	REG_MAGIC = 0x000,
	REG_VERSION = 0x004,
	REG_DEVICE_ID = 0x008,
	REG_DEVICE_FEATURES = 0x010,
	REG_DEVICE_FEATURES_SEL = 0x014,
	REG_DRIVER_FEATURES = 0x020,
	REG_DRIVER_FEATURES_SEL = 0x024,
	REG_QUEUE_SEL = 0x030,
	REG_QUEUE_NUM_MAX = 0x034,
	REG_QUEUE_NUM = 0x038,
	REG_QUEUE_READY = 0x044,
	REG_QUEUE_NOTIFY = 0x050,
	REG_INTERRUPT_STATUS = 0x060,
	REG_INTERRUPT_ACK = 0x064,
	REG_STATUS = 0x070,
	REG_QUEUE_DESC = 0x080,
	REG_QUEUE_DRIVER = 0x090,
	REG_QUEUE_DEVICE = 0x0a0,
	REG_CONFIG_GENERATION = 0x0fc,
	REG_CONFIG = 0x100,
};

/* Device status (virtio 1.2, 2.1). */
enum {
	STATUS_ACKNOWLEDGE = 1,
	STATUS_DRIVER = 2,
	STATUS_DRIVER_OK = 4,
	STATUS_FEATURES_OK = 8,
	STATUS_NEEDS_RESET = 64,
};

struct device {
	/* Guest-physical address of its registers, and how many bytes they are. */
	uint64_t base, size;
	/* Its place in the command line, and its pin of the I/O APIC. */
	unsigned slot, line;
	uint32_t id;
	/* Feature bits: what it has, and what both sides agreed on. */
	uint64_t offered, agreed;
};

/* Finds the next device that the command line tells of, from slot `*slot` on; moves `*slot` behind it. Slots without a
 * device are passed over; one that is no virtio-mmio device of version 2 ends the guest. */
bool device_find(struct device *device, unsigned *slot);

/* "blk", "net" and so on; "device" for a type that no driver here knows. */
const char *device_name(uint32_t id);

/* Resets it and waits until it has; a device that does not ends the guest. */
void device_reset(const struct device *device);

/* Resets it and agrees on those of `wanted` and of the options that it offers. False if it refuses. */
bool device_negotiate(struct device *device, uint64_t wanted);

/* Sets up its queue number `index`, with chains of at most `segments` parts; false if the device has no such queue.
 * Where the queue was set up before, its memory serves again: what it held is forgotten. */
bool device_queue(const struct device *device, unsigned index, struct queue *queue, unsigned segments);

/* Says DRIVER_OK. */
void device_ready(const struct device *device);

/* Prints a line about what was agreed on. */
void device_print(const struct device *device, const struct queue *queue);

bool device_has(const struct device *device, uint64_t feature);
uint32_t device_status(const struct device *device);

/* The device's configuration (virtio 1.2, 4.2.2.2): wider fields than 32 bits are read in one generation. */
uint8_t config8(const struct device *device, unsigned offset);
uint16_t config16(const struct device *device, unsigned offset);
uint32_t config32(const struct device *device, unsigned offset);
uint64_t config64(const struct device *device, unsigned offset);
