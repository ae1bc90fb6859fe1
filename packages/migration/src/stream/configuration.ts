import type { ByteReader } from "../vmstate/index.js";
import {
  array,
  type ByteWriter,
  buffer,
  named,
  readQemuState,
  type StateOf,
  text,
  u8,
  u32,
  vmstate,
} from "../vmstate/index.js";
import type { DescribedState } from "./description.js";
import { STREAM_PAGE_SIZE } from "./format.js";
import { streamError } from "./stream-error.js";
import { formatUuid } from "./uuid.js";
import { writeDescribed } from "./write-described.js";

/** What both sides must agree on before anything is read. */
export interface StreamConfiguration {
  /** As in `microvm`; must be the same on both sides. */
  readonly machineType: string;
  /** The capabilities that change what is in the stream. */
  readonly capabilities?: readonly StreamCapability[];
  /** 16 bytes; compared where both sides give one. */
  readonly uuid?: Uint8Array | undefined;
}

/** Capabilities that a stream tells of. QEMU: `check_validate_capability`. */
export type StreamCapability = "x-ignore-shared" | "mapped-ram";

/** All of them. */
export const STREAM_CAPABILITIES: readonly StreamCapability[] = ["x-ignore-shared", "mapped-ram"];

const LONGEST_MACHINE = 255;
const MOST_CAPABILITIES = 64;

/** The configuration of a stream. QEMU: migration/savevm.c `vmstate_configuration`. */
export const configuration = vmstate({
  name: "configuration",
  version: 1,
  fields: { len: u32, name: buffer("len") },
  subsections: {
    targetPageBits: vmstate({
      name: "configuration/target-page-bits",
      version: 1,
      fields: { bits: named("target_page_bits", u32) },
    }),
    capabilities: vmstate({
      name: "configuration/capabilities",
      version: 1,
      fields: {
        count: named("caps_count", u32),
        names: named("capabilities", array("count", { ...text, type: "capability" })),
      },
    }),
    uuid: vmstate({
      name: "configuration/uuid",
      version: 1,
      fields: { bytes: named("uuid.data", array(16, u8)) },
    }),
  },
});

/** Writes what follows the tag. Throws `STREAM_VALUE`. */
export function writeConfiguration(
  writer: ByteWriter,
  { machineType, capabilities = [], uuid }: StreamConfiguration,
): DescribedState {
  const name = new TextEncoder().encode(machineType);
  if (name.length === 0 || name.length > LONGEST_MACHINE) {
    throw streamError("STREAM_VALUE", `a machine type has 1 to ${LONGEST_MACHINE} bytes, not ${name.length}`);
  }
  if (uuid && uuid.length !== 16) throw streamError("STREAM_VALUE", `a UUID has 16 bytes, not ${uuid.length}`);
  const state: StateOf<typeof configuration> = {
    len: name.length,
    name,
    ...(capabilities.length > 0 ? { capabilities: { count: capabilities.length, names: [...capabilities] } } : {}),
    ...(uuid ? { uuid: { bytes: [...uuid] } } : {}),
  };
  return writeDescribed(writer, configuration, state, "configuration");
}

/** What a stream says of itself. */
export interface IncomingConfiguration {
  readonly machineType: string;
  readonly targetPageBits: number | undefined;
  readonly capabilities: readonly string[];
  readonly uuid: Uint8Array | undefined;
}

/** Reads what follows the tag. Throws `VmstateError` or `STREAM_CONFIGURATION`. */
export function readConfiguration(reader: ByteReader): IncomingConfiguration {
  const { offset } = reader;
  const state = readQemuState(reader, configuration);
  if (state.len > LONGEST_MACHINE || (state.capabilities?.count ?? 0) > MOST_CAPABILITIES) {
    throw streamError("STREAM_CONFIGURATION", "machine type or capabilities are too long", offset);
  }
  return {
    machineType: new TextDecoder().decode(state.name),
    targetPageBits: state.targetPageBits?.bits,
    capabilities: state.capabilities?.names ?? [],
    uuid: state.uuid && Uint8Array.from(state.uuid.bytes),
  };
}

/** Compares with this side. Throws `STREAM_CONFIGURATION`; the texts are QEMU's. */
export function checkConfiguration(incoming: IncomingConfiguration, local: StreamConfiguration, offset: number): void {
  const refuse = (message: string) => streamError("STREAM_CONFIGURATION", message, offset);
  if (incoming.machineType !== local.machineType) {
    throw refuse(`Machine type received is '${incoming.machineType}' and local is '${local.machineType}'`);
  }
  const bits = Math.log2(STREAM_PAGE_SIZE);
  if (incoming.targetPageBits !== undefined && incoming.targetPageBits !== bits) {
    throw refuse(`Received TARGET_PAGE_BITS is ${incoming.targetPageBits} but local is ${bits}`);
  }
  for (const name of incoming.capabilities) {
    if (!(STREAM_CAPABILITIES as readonly string[]).includes(name)) throw refuse(`Received unknown capability ${name}`);
  }
  if (new Set(incoming.capabilities).size !== incoming.capabilities.length) {
    throw refuse("a capability was received twice");
  }
  for (const name of STREAM_CAPABILITIES) {
    const mine = local.capabilities?.includes(name) ?? false;
    const theirs = incoming.capabilities.includes(name);
    if (mine !== theirs) {
      throw refuse(`Capability ${name} is ${onOff(mine)}, but received capability is ${onOff(theirs)}`);
    }
  }
  if (incoming.uuid && local.uuid && incoming.uuid.some((byte, i) => byte !== local.uuid?.[i])) {
    throw refuse(`UUID received is ${formatUuid(incoming.uuid)} and local is ${formatUuid(local.uuid)}`);
  }
}

function onOff(value: boolean): string {
  return value ? "on" : "off";
}
