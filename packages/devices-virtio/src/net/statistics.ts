/** Figures of one direction. */
export interface NetDirectionStatistics {
  readonly packets: number;
  /** Of frames, without the virtio header. */
  readonly bytes: number;
  /** Packets that did not get through: malformed, refused by the host, too long for the buffers, or the link was down. */
  readonly dropped: number;
}

/** What a network device has moved since it was made; nothing with vhost, where the kernel moves the packets. */
export interface NetStatistics {
  /** To the guest. */
  readonly receive: NetDirectionStatistics;
  /** From the guest. */
  readonly transmit: NetDirectionStatistics;
}

/** Counts one direction. */
export class DirectionCounter implements NetDirectionStatistics {
  packets = 0;
  bytes = 0;
  dropped = 0;

  /** As plain data. */
  save(): NetDirectionStatistics {
    return { packets: this.packets, bytes: this.bytes, dropped: this.dropped };
  }
}
