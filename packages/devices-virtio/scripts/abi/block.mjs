export default {
  includes: ["linux/fs.h"],
  constants: ["BLKDISCARD", "BLKZEROOUT", "BLKSSZGET", "BLKPBSZGET", "BLKGETSIZE64"],
};
