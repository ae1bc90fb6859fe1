import { type FileHandle, lstat, open, readdir, readFile, readlink, stat } from "node:fs/promises";
import { join } from "node:path";
import { TestbedError } from "./errors.js";

const BLOCK = 512;

/** A file, or a whole directory, on its way into the testbed. */
export interface TestbedFile {
  /** Where it goes: an absolute path, or one below the directory in which the command runs. */
  readonly path: string;
  /** What it is: a path on this machine, or the content itself. */
  readonly from: string | Buffer;
  /** Permission bits; by default those of the file here, or 0644 for content. */
  readonly mode?: number;
  /** Follow symbolic links found in a directory and copy what they point to. Off by default: links stay links. */
  readonly resolveLinks?: boolean;
}

/** Writes the files as a tar archive (POSIX ustar, with GNU's records for long names) to a new file. */
export async function writeTar(path: string, files: readonly TestbedFile[]): Promise<void> {
  const archive = await open(path, "w");
  try {
    for (const file of files) await addFile(archive, file);
    await archive.writeFile(Buffer.alloc(2 * BLOCK));
  } finally {
    await archive.close();
  }
}

async function addFile(archive: FileHandle, file: TestbedFile): Promise<void> {
  if (typeof file.from !== "string") {
    await addEntry(archive, file.path, "0", file.mode ?? 0o644, file.from);
    return;
  }
  const info = await stat(file.from).catch((cause: unknown) => {
    throw new TestbedError("FILE_MISSING", `no ${String(file.from)} to copy to ${file.path} in the testbed`, { cause });
  });
  if (info.isFile()) {
    await addEntry(archive, file.path, "0", file.mode ?? info.mode & 0o7777, await readFile(file.from));
  } else if (info.isDirectory()) {
    await addDirectory(archive, file.path, file.from, file.resolveLinks === true);
  }
}

async function addDirectory(archive: FileHandle, path: string, from: string, resolveLinks: boolean): Promise<void> {
  await addEntry(archive, path, "5", 0o755, Buffer.alloc(0));
  for (const name of (await readdir(from)).sort()) {
    const [source, target] = [join(from, name), join(path, name)];
    const info = await (resolveLinks ? stat(source) : lstat(source));
    if (info.isSymbolicLink()) await addEntry(archive, target, "2", 0o777, Buffer.alloc(0), await readlink(source));
    else if (info.isDirectory()) await addDirectory(archive, target, source, resolveLinks);
    else if (info.isFile()) await addEntry(archive, target, "0", info.mode & 0o7777, await readFile(source));
  }
}

type EntryType = "0" | "2" | "5" | "K" | "L";

async function addEntry(
  archive: FileHandle,
  path: string,
  type: EntryType,
  mode: number,
  content: Buffer,
  link = "",
): Promise<void> {
  const name = path.replace(/^\/+/, "");
  if (Buffer.byteLength(link) > 100) await addEntry(archive, "././@LongLink", "K", 0, Buffer.from(`${link}\0`));
  if (Buffer.byteLength(name) > 100) await addEntry(archive, "././@LongLink", "L", 0, Buffer.from(`${name}\0`));
  const header = Buffer.alloc(BLOCK);
  header.write(name.slice(0, 100), 0, 100);
  const octal = (value: number, at: number, length: number): void => {
    header.write(value.toString(8).padStart(length - 1, "0"), at, length - 1, "latin1");
  };
  octal(mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(content.length, 124, 12);
  octal(0, 136, 12);
  header.write(" ".repeat(8), 148, "latin1");
  header.write(type, 156, "latin1");
  header.write(link.slice(0, 100), 157, 100);
  header.write("ustar  ", 257, "latin1");
  octal(
    header.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  await archive.writeFile(header);
  if (content.length > 0) await archive.writeFile(content);
  const rest = content.length % BLOCK;
  if (rest > 0) await archive.writeFile(Buffer.alloc(BLOCK - rest));
}

/** Reads the regular files of a tar archive that lies at the start of a file; gives their content by path. */
export async function readTar(path: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  const archive = await open(path, "r");
  const read = async (position: number, length: number): Promise<Buffer> => {
    const bytes = Buffer.alloc(length);
    const { bytesRead } = await archive.read(bytes, 0, length, position);
    return bytes.subarray(0, bytesRead);
  };
  const text = (bytes: Buffer): string => bytes.toString().replace(/\0[\s\S]*$/, "");
  try {
    const size = (await archive.stat()).size;
    let longName: string | undefined;
    for (let at = 0; at + BLOCK <= size; ) {
      const header = await read(at, BLOCK);
      if (header.every((byte) => byte === 0)) break;
      if (header.toString("latin1", 257, 262) !== "ustar") {
        throw new TestbedError("ARCHIVE_INVALID", `no tar header at offset ${at} of ${path}`);
      }
      const length = Number.parseInt(text(header.subarray(124, 136)).trim() || "0", 8);
      if (!(length >= 0 && at + BLOCK + length <= size)) {
        throw new TestbedError("ARCHIVE_INVALID", `a tar entry at offset ${at} of ${path} ends outside the archive`);
      }
      const type = String.fromCharCode(header[156] ?? 0);
      const magicIsPosix = header[262] === 0;
      const prefix = magicIsPosix ? text(header.subarray(345, 500)) : "";
      const shortName = text(header.subarray(0, 100));
      const name: string = longName ?? (prefix ? `${prefix}/${shortName}` : shortName);
      longName = undefined;
      if (type === "L") longName = text(await read(at + BLOCK, length));
      else if (type === "0" || type === "\0") files.set(name.replace(/^\.?\//, ""), await read(at + BLOCK, length));
      at += BLOCK + Math.ceil(length / BLOCK) * BLOCK;
    }
  } finally {
    await archive.close();
  }
  return files;
}
