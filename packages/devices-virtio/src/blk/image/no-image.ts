import { ENODEV } from "@baton/linux";
import type { BlockImage } from "./image.js";

/** The image of a place for a disk that holds none: no sectors, and nothing that could be done with them. */
export class NoImage implements BlockImage {
  readonly size = 0;
  readonly logicalBlockSize = 512;
  readonly physicalBlockSize = 4096;

  read(): number {
    return -ENODEV;
  }

  write(): number {
    return -ENODEV;
  }

  flush(): number {
    return 0;
  }

  discard(): number {
    return -ENODEV;
  }

  writeZeroes(): number {
    return -ENODEV;
  }

  resize(): number {
    return 0;
  }

  save(): unknown {
    return {};
  }

  load(): void {}
}
