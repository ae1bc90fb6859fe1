/* Network devices (virtio 1.2, 5.1), and the Ethernet frames of the guests. */
#pragma once
#include "features.h"
#include <stdint.h>

#define NET_F_CSUM BIT(0)
#define NET_F_GUEST_CSUM BIT(1)
#define NET_F_MAC BIT(5)
#define NET_F_GUEST_TSO4 BIT(7)
#define NET_F_HOST_TSO4 BIT(11)
#define NET_F_MRG_RXBUF BIT(15)
#define NET_F_STATUS BIT(16)

/* The offset of the status in the configuration (5.1.4), and its bit for the cable. */
enum { NET_STATUS = 6, NET_LINK_UP = 1 };

enum { NET_RX = 0, NET_TX = 1 };

/* 5.1.6 */
struct net_header {
	uint8_t flags, gso_type;
	uint16_t header_length, gso_size, checksum_start, checksum_offset, buffers;
};
#define NET_HEADER ((uint32_t)sizeof(struct net_header))

enum { NET_HDR_F_NEEDS_CSUM = 1, NET_HDR_GSO_NONE = 0, NET_HDR_GSO_TCPV4 = 1 };

/* IEEE's first EtherType for local experiments. */
#define ETHERTYPE_LOCAL 0x88b5
#define FRAME_LEAST 64u
#define FRAME_MOST 1514u

struct ethernet {
	uint8_t to[6], from[6];
	/* Big-endian. */
	uint16_t type;
} __attribute__((packed));

static inline uint16_t big16(uint16_t value) {
	return __builtin_bswap16(value);
}
