import { aml } from "@baton/core-kvm";
import { EVENT_POWER_BUTTON, gedLayout, SLEEP_TYPE_S5 } from "../platform/acpi-ged.js";

/** The device's and the power button's part of the DSDT, and the sleep state that powers the machine off. */
export function gedAml(): aml.Aml {
  return aml.concat(
    aml.scope(
      "\\_SB",
      aml.device(
        "GED",
        aml.name("_HID", aml.string("ACPI0013")),
        aml.name("_UID", aml.string("GED")),
        aml.name("_CRS", aml.resources(aml.interrupt(gedLayout.gsi, "edge"))),
        aml.operationRegion("EREG", "memory", gedLayout.events, 4),
        aml.field("EREG", "dword", [["ESEL", 32]]),
        aml.method(
          "_EVT",
          1,
          aml.store(aml.path("ESEL"), aml.local(0)),
          aml.when(aml.and(aml.local(0), aml.integer(EVENT_POWER_BUTTON)), aml.notify("\\_SB.PWRB", 0x80)),
        ),
      ),
      aml.device("PWRB", aml.name("_HID", aml.eisaId("PNP0C0C")), aml.name("_UID", aml.integer(0))),
    ),
    aml.name("\\_S5", aml.pkg(aml.integer(SLEEP_TYPE_S5), aml.integer(0), aml.integer(0), aml.integer(0))),
  );
}
