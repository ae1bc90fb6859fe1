/* The socket load: connections, and what its files share. Stream sockets of virtio 1.2, 5.10. */
#pragma once
#include "load.h"

#define HOST_CID 2
/* The guest listens here. */
#define ECHO_PORT 5000

#define CONNECTIONS 9
#define PAYLOAD 4096u
#define SENDS 16
#define RECEIVES 16
/* What a connection may hold of what it received; a power of two. */
#define BUFFER 0x8000u

enum { VSOCK_RX = 0, VSOCK_TX = 1, VSOCK_EVENT = 2 };

/* Operations (5.10.6), shutdown flags (5.10.6.5), the type of streams. */
enum { OP_REQUEST = 1, OP_RESPONSE, OP_RST, OP_SHUTDOWN, OP_RW, OP_CREDIT_UPDATE, OP_CREDIT_REQUEST };
enum { SHUTDOWN_RECEIVE = 1, SHUTDOWN_SEND = 2, SHUTDOWN_BOTH = 3 };
#define TYPE_STREAM 1

struct packet {
	uint64_t from_cid, to_cid;
	uint32_t from_port, to_port, length;
	uint16_t type, operation;
	uint32_t flags, buffer, forwarded;
} __attribute__((packed));

enum connection_state { CLOSED, CONNECTING, OPEN, CLOSING };

struct connection {
	enum connection_state state;
	uint32_t own_port, peer_port;
	/* Credit (5.10.6.3): bytes sent, the peer's buffer, what it took out; bytes received, taken out, told of. */
	uint32_t sent, peer_buffer, peer_forwarded, received, forwarded, told;
	/* Operations to send as soon as there is room: 1 << OP_*. */
	uint32_t owed;
	/* Shutdown flags that each side said. */
	uint32_t own_shutdown, peer_shutdown;
	/* The peer was asked for credit, and has not answered. */
	bool asked;
	/* The clock when it came into this state, or had its last packet. */
	uint64_t since;
	/* Client: the place in the stream of what goes out and what came back. */
	uint64_t out, back;
	/* Server: what is to be sent back, BUFFER bytes; the last member, as it stays from one connection to the next. */
	uint8_t *buffer;
};

struct vsock {
	struct queue receive, send, event;
	uint64_t cid, random;
	uint32_t next_port;
	/* The first one is the guest's own, the others the host's. */
	struct connection connections[CONNECTIONS];
	struct vsock_send {
		bool busy;
		struct packet packet;
		uint8_t payload[PAYLOAD];
	} sends[SENDS];
	struct vsock_receive {
		struct packet packet;
		uint8_t payload[PAYLOAD];
	} receives[RECEIVES];
	uint32_t events[4];
	/* Ports of a peer and of the guest that belong to no connection, to be told so. */
	struct stray {
		uint32_t own_port, peer_port;
	} strays[8];
	unsigned stray_count;
	/* `vsport=`, `vsbytes=`, and the clock when the guest may connect again. */
	uint64_t port, bytes, again_at;
	/* Streams that came back whole, connections that were refused or reset. */
	uint64_t streams, resets;
};

static inline bool is_client(const struct vsock *vsock, const struct connection *connection) {
	return connection == &vsock->connections[0];
}

/* vsock-send.c: sends what connections owe and have, as far as there is room and credit. */
void vsock_pump(struct load *load);

/* vsock-receive.c: a packet came in. */
void vsock_receive(struct load *load, const struct packet *packet, const uint8_t *payload);
/* Ends the connection; `reset` counts it as one that was broken off. */
void connection_end(struct vsock *vsock, struct connection *connection, bool reset);

/* Byte number `at` of the stream that the guest sends: little-endian words of 64 bits that count from 0. */
static inline uint8_t stream_byte(uint64_t at) {
	return at / 8 >> at % 8 * 8;
}
