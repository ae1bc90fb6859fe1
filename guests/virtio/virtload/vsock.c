/* Sockets (virtio 1.2, 5.10): a stream to the host that must come back, and an echo for the host's streams. */
#include "vsock.h"
#include "memory.h"
#include "print.h"
#include "words.h"
#include <stddef.h>

#define EVENT_TRANSPORT_RESET 0
#define CONFIG_CID 0
#define FIRST_PORT 0x40000000u
/* Time stamps without an answer before the guest closes what it has half closed, and before it breaks off. */
#define LINGER 1000000000ul
#define PATIENCE 6000000000ul

static void give_buffer(struct load *load, struct vsock_receive *receive) {
	struct vsock *vsock = load->state;
	struct segment parts[] = {
		{(uintptr_t)&receive->packet, sizeof receive->packet, true}, {(uintptr_t)receive->payload, PAYLOAD, true},
	};
	struct segment whole = {(uintptr_t)receive, sizeof *receive, true};
	bool halves = (receive - vsock->receives) % 2 == 1;
	if (!queue_add(&vsock->receive, halves ? parts : &whole, 1 + halves, receive)) bad("%s queue is full", load->name);
}

static void give_event(struct load *load, uint32_t *event) {
	struct vsock *vsock = load->state;
	struct segment part = {(uintptr_t)event, sizeof *event, true};
	if (!queue_add(&vsock->event, &part, 1, event)) bad("%s event queue is full", load->name);
}

static void connect(struct load *load) {
	struct vsock *vsock = load->state;
	struct connection *connection = &vsock->connections[0];
	if (vsock->port == 0 || load_stopping || connection->state != CLOSED) return;
	if (load_clock < vsock->again_at) return;
	memset(connection, 0, offsetof(struct connection, buffer));
	connection->state = CONNECTING;
	connection->since = load_clock;
	connection->own_port = vsock->next_port++;
	connection->peer_port = vsock->port;
	connection->owed = 1 << OP_REQUEST;
}

/* The device has forgotten all connections (5.10.6.7). */
static void forget_all(struct vsock *vsock) {
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		if (vsock->connections[i].state != CLOSED) connection_end(vsock, &vsock->connections[i], true);
	}
	vsock->stray_count = 0;
}

static void serve(struct load *load) {
	struct vsock *vsock = load->state;
	struct used used;
	do {
		queue_quiet(&vsock->send);
		while (queue_take(&vsock->send, &used)) ((struct vsock_send *)used.token)->busy = false;
	} while (queue_listen(&vsock->send));
	do {
		queue_quiet(&vsock->receive);
		while (queue_take(&vsock->receive, &used)) {
			struct vsock_receive *receive = used.token;
			if (used.length != sizeof receive->packet + receive->packet.length) {
				bad("%s packet of %u bytes says %u", load->name, used.length, receive->packet.length);
			}
			vsock_receive(load, &receive->packet, receive->payload);
			give_buffer(load, receive);
		}
		queue_kick(&vsock->receive);
	} while (queue_listen(&vsock->receive));
	do {
		while (queue_take(&vsock->event, &used)) {
			if (*(uint32_t *)used.token == EVENT_TRANSPORT_RESET) {
				forget_all(vsock);
				vsock->cid = config64(&load->device, CONFIG_CID);
			}
			give_event(load, used.token);
		}
		queue_kick(&vsock->event);
	} while (queue_listen(&vsock->event));
	vsock_pump(load);
}

static void hurry(struct connection *connection) {
	uint64_t waited = load_clock - connection->since;
	if (connection->state == OPEN) {
		if (connection->own_shutdown == 0 || connection->out != connection->back || waited < LINGER) return;
		connection->own_shutdown = SHUTDOWN_BOTH;
		connection->owed |= 1 << OP_SHUTDOWN;
		connection->state = CLOSING;
		connection->since = load_clock;
	} else if (connection->state != CLOSED && waited > PATIENCE) {
		connection->owed = 1 << OP_RST;
	}
}

static void tick(struct load *load) {
	struct vsock *vsock = load->state;
	for (unsigned i = 0; i < CONNECTIONS; i++) hurry(&vsock->connections[i]);
	connect(load);
	vsock_pump(load);
}

static void start(struct load *load) {
	bool again = load->state != NULL;
	struct vsock *vsock = load_state(load, sizeof *vsock);
	load_negotiate(load, 0);
	load_queue(load, VSOCK_RX, &vsock->receive, 2);
	load_queue(load, VSOCK_TX, &vsock->send, 2);
	load_queue(load, VSOCK_EVENT, &vsock->event, 1);
	for (unsigned i = 1; i < CONNECTIONS && !again; i++) vsock->connections[i].buffer = arena_take(BUFFER, 64);
	if (!again) vsock->next_port = FIRST_PORT;
	forget_all(vsock);
	vsock->random = load->device.base;
	vsock->port = parameter_within("vsport", 1024, 0, -1u);
	vsock->bytes = parameter("vsbytes", 0x100000);
	vsock->cid = config64(&load->device, CONFIG_CID);
	for (unsigned i = 0; i < SENDS; i++) vsock->sends[i].busy = false;
	for (unsigned i = 0; i < RECEIVES && vsock->receive.free >= 2; i++) give_buffer(load, &vsock->receives[i]);
	for (unsigned i = 0; i < 4 && vsock->event.free != 0; i++) give_event(load, &vsock->events[i]);
	device_ready(&load->device);
	if (!again) device_print(&load->device, &vsock->receive);
	queue_kick(&vsock->receive);
	queue_kick(&vsock->event);
	connect(load);
	serve(load);
}

static bool waits(const struct load *load) {
	const struct vsock *vsock = load->state;
	const struct connection *client = &vsock->connections[0];
	bool out = client->state == OPEN && client->out != client->back;
	return vsock->send.with_device != 0 || client->state == CONNECTING || out;
}

static void summary(const struct load *load) {
	const struct vsock *vsock = load->state;
	print(" %s_streams=%lu %s_resets=%lu", load->name, vsock->streams, load->name, vsock->resets);
}

const struct driver vsock_driver = {ID_VSOCK, true, start, serve, NULL, tick, waits, summary};
