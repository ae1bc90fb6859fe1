/* The control queues of a console with several ports (virtio 1.2, 5.3.6.2). */
#include "console.h"
#include "print.h"
#include <stddef.h>

#define QUEUE_IN 2
#define QUEUE_OUT 3

static void give_buffer(struct load *load, uint8_t *buffer) {
	struct console *console = load->state;
	struct segment part = {(uintptr_t)buffer, RECEIVE_BYTES, true};
	if (!queue_add(&console->control_in, &part, 1, buffer)) bad("%s control queue is full", load->name);
}

/* The messages stand in a ring: those that the device has, then those that it is still to get. */
static void say(struct load *load, uint32_t port, uint16_t event, uint16_t value) {
	struct console *console = load->state;
	if (console->out_count == MESSAGES) bad("%s takes no control messages", load->name);
	uint32_t at = (console->out_first + console->out_count++) % MESSAGES;
	console->messages_out[at] = (struct message){port, event, value};
}

static void send(struct console *console) {
	while (console->out_sent < console->out_count) {
		uint32_t at = (console->out_first + console->out_sent) % MESSAGES;
		struct segment part = {(uintptr_t)&console->messages_out[at], sizeof(struct message), false};
		if (!queue_add(&console->control_out, &part, 1, NULL)) break;
		console->out_sent++;
	}
	queue_kick(&console->control_out);
}

void control_start(struct load *load) {
	struct console *console = load->state;
	console->out_first = console->out_count = console->out_sent = 0;
	load_queue(load, QUEUE_IN, &console->control_in, 1);
	load_queue(load, QUEUE_OUT, &console->control_out, 1);
	for (unsigned i = 0; i < MESSAGES && console->control_in.free != 0; i++) give_buffer(load, console->messages_in[i]);
}

void control_ready(struct load *load) {
	struct console *console = load->state;
	queue_kick(&console->control_in);
	say(load, 0, DEVICE_READY, 1);
	control_serve(load);
	send(console);
}

static void obey(struct load *load, const struct message *message) {
	struct console *console = load->state;
	if (message->port >= console->count) return;
	switch (message->event) {
	case DEVICE_ADD:
		port_add(load, message->port);
		say(load, message->port, PORT_READY, 1);
		break;
	case DEVICE_REMOVE: port_close(load, message->port); break;
	case CONSOLE_PORT: say(load, message->port, PORT_OPEN, 1); break;
	case PORT_OPEN:
		say(load, message->port, PORT_OPEN, message->value);
		if (message->value == 0) port_close(load, message->port);
		else port_open(load, message->port);
		break;
	default: break;
	}
}

void control_serve(struct load *load) {
	struct console *console = load->state;
	struct used used;
	do {
		while (queue_take(&console->control_in, &used)) {
			if (used.length < sizeof(struct message)) bad("%s control message of %u bytes", load->name, used.length);
			obey(load, used.token);
			give_buffer(load, used.token);
		}
		queue_kick(&console->control_in);
	} while (queue_listen(&console->control_in));
	do {
		while (queue_take(&console->control_out, &used)) continue;
	} while (queue_listen(&console->control_out));
	/* Messages may come back in any order: their places are free when none is out. */
	if (console->control_out.with_device == 0) {
		console->out_first = (console->out_first + console->out_sent) % MESSAGES;
		console->out_count -= console->out_sent;
		console->out_sent = 0;
	}
	send(console);
}
