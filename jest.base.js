import { fileURLToPath } from "node:url";

/** Jest settings that every package shares: TypeScript sources run as ES modules, tests stand beside what they test. */
export default {
  testEnvironment: "node",
  testEnvironmentOptions: { globalsCleanup: "off" },
  extensionsToTreatAsEsm: [".ts"],
  transform: {
    "^.+\\.ts$": [
      "ts-jest",
      {
        useESM: true,
        diagnostics: false,
        tsconfig: {
          isolatedModules: true,
          module: "NodeNext",
          moduleResolution: "NodeNext",
          target: "ES2022",
          verbatimModuleSyntax: true,
        },
      },
    ],
  },
  moduleNameMapper: { "^(\\.{1,2}/.*)\\.js$": "$1" },
  setupFilesAfterEnv: [fileURLToPath(new URL("test/equal-bytes.ts", import.meta.url))],
  testMatch: ["<rootDir>/src/**/*.test.ts", "<rootDir>/test/**/*.test.ts"],
  coverageProvider: "v8",
};
