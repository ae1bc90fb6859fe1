/* The console load: ports, and what its two files share. */
#pragma once
#include "load.h"

#define CONSOLE_F_MULTIPORT BIT(1)
/* Offset in the configuration (virtio 1.2, 5.3.4). */
#define CONFIG_MAX_PORTS 4

/* Ports that are driven. */
#define PORTS 8
#define RECEIVES 4
#define RECEIVE_BYTES 256u
#define SENDS 4
#define SEND_BYTES 512u
/* Control messages on the way at most, each way. */
#define MESSAGES 32

/* 5.3.6.2 */
struct message {
	uint32_t port;
	uint16_t event, value;
};
enum {
	DEVICE_READY = 0,
	DEVICE_ADD = 1,
	DEVICE_REMOVE = 2,
	PORT_READY = 3,
	CONSOLE_PORT = 4,
	RESIZE = 5,
	PORT_OPEN = 6,
	PORT_NAME = 7,
};

struct port {
	struct queue receive, send;
	/* Whether it is there, and open on both sides. */
	bool present, open;
	uint8_t received[RECEIVES][RECEIVE_BYTES];
	struct line_send {
		bool busy;
		uint8_t bytes[SEND_BYTES];
	} sends[SENDS];
	/* Lines that may be sent before the next tick. */
	uint64_t lines_left;
	/* The next number to send; the number that comes in, its digits so far, and whether one came before. */
	uint64_t next, incoming, expected;
	uint32_t digits;
	bool in_line, synchronised;
};

struct console {
	struct port ports[PORTS];
	uint32_t count;
	uint64_t random;
	/* Messages from and to the device. Those to it wait here until a place is free. */
	struct queue control_in, control_out;
	uint8_t messages_in[MESSAGES][RECEIVE_BYTES];
	struct message messages_out[MESSAGES];
	uint32_t out_first, out_count, out_sent;
};

/* Sets up the control queues (5.3.2), and when the device is ready says so (5.3.5). */
void control_start(struct load *load);
void control_ready(struct load *load);

/* Looks at the control queues; opens and closes ports as the device says. */
void control_serve(struct load *load);

/* The device has added port `number`; it can be used from `port_open` to `port_close`. */
void port_add(struct load *load, uint32_t number);
void port_open(struct load *load, uint32_t number);
void port_close(struct load *load, uint32_t number);
