#include "frame.h"
#include "memory.h"
#include <stddef.h>

#define MAGIC 0x626e7462u
#define ETHERTYPE_IPV4 0x0800
#define PROTOCOL_TCP 6
/* Of TEST-NET-1 (RFC 5737). */
#define ADDRESS_FROM 0xc0000201u
#define ADDRESS_TO 0xc0000202u
#define PORT_BENCH 0x88b5

struct ipv4 {
	uint8_t version, service;
	uint16_t length, id, fragment;
	uint8_t ttl, protocol;
	uint16_t checksum;
	uint32_t from, to;
} __attribute__((packed));

struct tcp {
	uint16_t from, to;
	uint32_t sequence, acknowledge;
	uint8_t offset, flags;
	uint16_t window, checksum, urgent;
} __attribute__((packed));

static uint16_t folded(uint32_t sum) {
	while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void fill_tcp(uint8_t *at, uint32_t bytes) {
	struct ipv4 *ip = (struct ipv4 *)at;
	struct tcp *tcp = (struct tcp *)(ip + 1);
	*ip = (struct ipv4){
		.version = 0x45,
		.length = big16(bytes - sizeof(struct ethernet)),
		.ttl = 64,
		.protocol = PROTOCOL_TCP,
		.from = __builtin_bswap32(ADDRESS_FROM),
		.to = __builtin_bswap32(ADDRESS_TO),
	};
	uint32_t sum = 0;
	for (unsigned i = 0; i < sizeof *ip; i += 2) sum += at[i] << 8 | at[i + 1];
	ip->checksum = big16(~folded(sum));
	uint32_t port = big16(PORT_BENCH);
	*tcp = (struct tcp){.from = port, .to = port, .offset = 5 << 4, .flags = 0x10, .window = 0xffff};
	/* The device adds the rest to the sum of the pseudo header (virtio 1.2, 5.1.6.2). */
	uint32_t pseudo = (ADDRESS_FROM >> 16) + (ADDRESS_FROM & 0xffff) + (ADDRESS_TO >> 16) + (ADDRESS_TO & 0xffff);
	tcp->checksum = big16(folded(pseudo + PROTOCOL_TCP + bytes - sizeof(struct ethernet) - sizeof *ip));
}

static uint32_t head(bool gso) {
	return gso ? TCP_HEADERS : sizeof(struct ethernet);
}

void frame_fill(uint8_t *frame, uint32_t bytes, const uint8_t *mac, bool gso) {
	struct ethernet *ethernet = (struct ethernet *)frame;
	memset(ethernet->to, 0xff, 6);
	memcpy(ethernet->from, mac, 6);
	ethernet->type = big16(gso ? ETHERTYPE_IPV4 : ETHERTYPE_LOCAL);
	if (gso) fill_tcp(frame + sizeof *ethernet, bytes);
	for (uint32_t i = head(gso); i < bytes; i++) frame[i] = i;
}

void frame_offload(struct net_header *header, bool gso) {
	*header = (struct net_header){0};
	if (!gso) return;
	header->flags = NET_HDR_F_NEEDS_CSUM;
	header->gso_type = NET_HDR_GSO_TCPV4;
	header->header_length = TCP_HEADERS;
	header->gso_size = TCP_SEGMENT;
	header->checksum_start = sizeof(struct ethernet) + sizeof(struct ipv4);
	header->checksum_offset = offsetof(struct tcp, checksum);
}

void frame_number(uint8_t *frame, bool gso, uint32_t kind, uint64_t sequence) {
	*(struct bench *)(frame + head(gso)) = (struct bench){MAGIC, kind, sequence};
}

const struct bench *frame_read(const uint8_t *frame, uint32_t bytes, bool gso, bool *segment) {
	const struct ethernet *ethernet = (const struct ethernet *)frame;
	*segment = false;
	if (bytes < head(gso) + sizeof(struct bench)) return NULL;
	if (ethernet->type == big16(ETHERTYPE_LOCAL)) {
		const struct bench *bench = (const struct bench *)(ethernet + 1);
		return bench->magic == MAGIC ? bench : NULL;
	}
	if (!gso || ethernet->type != big16(ETHERTYPE_IPV4)) return NULL;
	const struct ipv4 *ip = (const struct ipv4 *)(ethernet + 1);
	const struct tcp *tcp = (const struct tcp *)(ip + 1);
	if (ip->protocol != PROTOCOL_TCP || tcp->to != big16(PORT_BENCH)) return NULL;
	const struct bench *bench = (const struct bench *)(tcp + 1);
	*segment = bench->magic != MAGIC;
	return *segment ? NULL : bench;
}

void frame_turn(uint8_t *frame, const uint8_t *mac) {
	struct ethernet *ethernet = (struct ethernet *)frame;
	memcpy(ethernet->to, ethernet->from, 6);
	memcpy(ethernet->from, mac, 6);
}
