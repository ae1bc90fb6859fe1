/* Consoles (virtio 1.2, 5.3): sends lines that count, and checks that those which come in count without a gap. */
#include "console.h"
#include "memory.h"
#include "print.h"
#include "random.h"
#include "words.h"
#include <stddef.h>

/* Port 0 has queues 0 and 1; 2 and 3 are the control queues (5.3.2). */
static unsigned queue_of(uint32_t port) {
	return port == 0 ? 0 : 2 + 2 * port;
}

static uint64_t lines_per_tick;

static uint32_t put_line(uint8_t *at, uint64_t number) {
	uint32_t length = 0;
	at[length++] = 'c';
	unsigned shift = 60;
	while (shift != 0 && number >> shift == 0) shift -= 4;
	for (;; shift -= 4) {
		at[length++] = "0123456789abcdef"[number >> shift & 15];
		if (shift == 0) break;
	}
	at[length++] = '\n';
	return length;
}

static void give_buffer(struct load *load, struct port *port, uint8_t *buffer) {
	struct segment part = {(uintptr_t)buffer, RECEIVE_BYTES, true};
	if (!queue_add(&port->receive, &part, 1, buffer)) bad("%s queue is full", load->name);
}

static void submit(struct load *load, struct port *port) {
	struct console *console = load->state;
	for (unsigned i = 0; i < SENDS && port->open; i++) {
		struct line_send *send = &port->sends[i];
		if (send->busy || port->send.free < 2 || port->lines_left == 0 || !load_begins(load)) continue;
		uint64_t lines = 1 + random_below(&console->random, SEND_BYTES / 20);
		if (lines > port->lines_left) lines = port->lines_left;
		port->lines_left -= lines;
		uint32_t length = 0;
		while (lines-- != 0) length += put_line(send->bytes + length, port->next++);
		uint64_t at = (uintptr_t)send->bytes;
		uint32_t cut = 1 + random_below(&console->random, length - 1);
		struct segment parts[] = {{at, cut, false}, {at + cut, length - cut, false}};
		if (!queue_add(&port->send, parts, 2, send)) bad("%s queue is full", load->name);
		send->busy = true;
	}
	queue_kick(&port->send);
}

static int digit_of(uint8_t c) {
	if (c >= '0' && c <= '9') return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The first line may have any number, the others count on. */
static void read_byte(struct load *load, uint32_t number, uint8_t c) {
	struct port *port = &((struct console *)load->state)->ports[number];
	if (c == '\r') return;
	if (c == 'c' && !port->in_line) {
		port->in_line = true;
		port->incoming = port->digits = 0;
	} else if (c == '\n' && port->in_line && port->digits != 0) {
		if (port->synchronised && port->incoming != port->expected) {
			bad("%s port %u: c%lx came, not c%lx", load->name, number, port->incoming, port->expected);
		}
		port->in_line = false;
		port->synchronised = true;
		port->expected = port->incoming + 1;
		load_ended(load);
	} else if (digit_of(c) >= 0 && port->in_line) {
		port->incoming = port->incoming << 4 | digit_of(c);
		port->digits++;
	} else {
		bad("%s port %u: byte 0x%x after c%lx", load->name, number, c, port->expected);
	}
}

static void serve_port(struct load *load, uint32_t number) {
	struct port *port = &((struct console *)load->state)->ports[number];
	struct used used;
	do {
		queue_quiet(&port->send);
		while (queue_take(&port->send, &used)) {
			((struct line_send *)used.token)->busy = false;
			load_ended(load);
		}
		submit(load, port);
	} while (queue_listen(&port->send));
	do {
		while (queue_take(&port->receive, &used)) {
			const uint8_t *bytes = used.token;
			for (uint32_t i = 0; i < used.length; i++) read_byte(load, number, bytes[i]);
			give_buffer(load, port, used.token);
		}
		queue_kick(&port->receive);
	} while (queue_listen(&port->receive));
}

void port_add(struct load *load, uint32_t number) {
	struct port *port = &((struct console *)load->state)->ports[number];
	if (port->present) return;
	port->present = true;
	for (unsigned i = 0; i < RECEIVES && port->receive.free != 0; i++) give_buffer(load, port, port->received[i]);
	queue_kick(&port->receive);
}

void port_open(struct load *load, uint32_t number) {
	struct port *port = &((struct console *)load->state)->ports[number];
	if (!port->present) return;
	port->open = true;
	port->in_line = port->synchronised = false;
	submit(load, port);
}

void port_close(struct load *load, uint32_t number) {
	((struct console *)load->state)->ports[number].open = false;
}

static void serve(struct load *load) {
	struct console *console = load->state;
	if (device_has(&load->device, CONSOLE_F_MULTIPORT)) control_serve(load);
	for (uint32_t i = 0; i < console->count; i++) {
		if (console->ports[i].present) serve_port(load, i);
	}
}

static void tick(struct load *load) {
	struct console *console = load->state;
	for (uint32_t i = 0; i < console->count; i++) {
		console->ports[i].lines_left = lines_per_tick;
		submit(load, &console->ports[i]);
	}
}

static void start(struct load *load) {
	bool again = load->state != NULL;
	struct console *console = load_state(load, sizeof *console);
	lines_per_tick = parameter_within("conlines", 64, 0, -1ul >> 1);
	console->random = load->device.base;
	load_negotiate(load, CONSOLE_F_MULTIPORT);
	bool several = device_has(&load->device, CONSOLE_F_MULTIPORT);
	console->count = several ? config32(&load->device, CONFIG_MAX_PORTS) : 1;
	if (console->count > PORTS) console->count = PORTS;
	for (uint32_t i = 0; i < console->count; i++) {
		struct port *port = &console->ports[i];
		port->present = port->open = port->in_line = port->synchronised = false;
		port->lines_left = lines_per_tick;
		load_queue(load, queue_of(i), &port->receive, 1);
		load_queue(load, queue_of(i) + 1, &port->send, 2);
		for (unsigned k = 0; k < SENDS; k++) port->sends[k].busy = false;
	}
	if (several) control_start(load);
	device_ready(&load->device);
	if (!again) device_print(&load->device, &console->ports[0].receive);
	if (several) {
		control_ready(load);
	} else {
		port_add(load, 0);
		port_open(load, 0);
	}
	serve(load);
}

static bool waits(const struct load *load) {
	const struct console *console = load->state;
	for (uint32_t i = 0; i < console->count; i++) {
		if (console->ports[i].open && console->ports[i].send.with_device != 0) return true;
	}
	return console->control_out.with_device != 0;
}

const struct driver console_driver = {ID_CONSOLE, true, start, serve, NULL, tick, waits, NULL};
