import type { Random } from './random.ts'

export type JsonObject = Record<string, unknown>

/** Content of `customerWithVehicles` in one event. */
export interface Snapshot {
  readonly customer: JsonObject
  readonly vehicles: JsonObject[] | null
  readonly addresses: JsonObject[] | null
}

const FIRST_NAMES = [
  'John',
  'Maria',
  'José',
  'Zoë',
  'Siân',
  'Łukasz',
  'Nguyễn',
  '美咲',
  '伟',
  'Ольга',
  "D'Andre",
  'Renée 🚗',
  'Ann-Kathrin',
  '',
]
const LAST_NAMES = [
  'Smith',
  'García',
  'Müller',
  "O'Neill",
  'Østergård',
  'Çelik',
  '佐藤',
  '王',
  'Петрова',
  'van der Berg',
  'Nuñez "Nino"',
  'Lee 👨‍👩‍👧',
]
const COMPANIES = ['Sunrise Plumbing LLC', 'Boulangerie Éclair', 'ACME \\ Sons', '東京モータース']
const STREETS = ['123 Main St', '77 Ocean Ave', '9 Peña Blvd', '4500 W Olympic Blvd', '1 Rue de l’Église']
/**
 * Texts that identify a simulated customer. No service may write any of these texts to a log or
 * metric.
 */
export const PERSONAL_TEXTS = [...FIRST_NAMES, ...LAST_NAMES, ...COMPANIES, ...STREETS].filter((text) => text !== '')
const CITIES = [
  ['Beverly Hills', 'CA', '90210'],
  ['Long Beach', 'CA', '90802'],
  ['Cañon City', 'CO', '81212'],
  ['Montréal', 'QC', 'H2Y 1C6'],
] as const
const VEHICLES = [
  ['GMC', 'Sierra 3500HD', 'Work Truck Long Box 2WD', '6.0L V8 OHV 16V FFV'],
  ['Nissan', 'Altima', '2.5 SV', '2.5L I4 DOHC 16V'],
  ['Citroën', 'C4', '', '1.6L I4'],
  ['Ford', 'F-150', 'XLT SuperCrew', '3.5L V6 EcoBoost'],
] as const
const TIERS = ['silver', 'gold', { name: 'platinum', since: 2019 }] as const

/**
 * Creates a complete snapshot. `persona` draws the fields that are the same in all events of a
 * customer, and `change` draws all other fields. `bestTimeToContact` is present in every second
 * version, so two successive snapshots always differ.
 */
export function makeSnapshot(customerUuid: string, version: number, persona: Random, change: Random): Snapshot {
  // Each event must draw the same count of numbers from `persona`. Otherwise later events would
  // show another person. Only the last draws, which are for the vehicles, may differ in number.
  const isBusiness = persona.chance(0.1)
  const company = persona.pick(COMPANIES)
  const handle = `customer.${persona.hex(8)}`
  const customerId = persona.digits(9)
  const home = { street: persona.pick(STREETS), city: persona.pick(CITIES) }
  const customer: JsonObject = {
    customerUuid,
    customerKey: persona.chance(0.6) ? persona.digits(6) : null,
    firstName: persona.pick(FIRST_NAMES),
    middleName: change.pick(['', '', 'Q.', 'María']),
    lastName: persona.pick(LAST_NAMES),
    company: isBusiness || change.chance(0.1) ? company : null,
    isBusiness,
    preferredLocale: persona.pick(['en-us', 'en-us', 'fr-ca']),
    preferredCommunication: change.pick(['text', 'phone', 'email']),
    emails: several(change, [0, 1, 1, 1, 2], (nth) => ({
      emailAddress: `${handle}${nth || ''}@example.com`,
      label: change.pick(['home', 'work']),
      okToEmail: change.chance(0.8),
      isPreferred: nth === 0,
    })),
    phoneNumbers: several(change, [0, 1, 1, 2], (nth) => ({
      phoneNumber: `+1310${change.digits(7)}`,
      label: change.pick(['cell', 'home']),
      okToCall: change.chance(0.8),
      okToText: change.chance(0.8),
      isPreferred: nth === 0,
      ...(change.chance(0.1) && { comments: change.pick(['', 'after 5 pm ☎', 'ask for "Sam"']) }),
    })),
    availability: change.below(3),
  }
  if (version % 2 === 1) customer.bestTimeToContact = { startTime: change.pick(['08:00', '09:30']), endTime: '17:00' }
  if (change.chance(0.3)) customer.customerId = customerId
  // An undocumented field, because the vendor may add fields without notice.
  if (change.chance(0.15)) customer.loyaltyTier = change.pick(TIERS)
  return {
    customer,
    vehicles: change.chance(0.06) ? null : several(change, [0, 1, 1, 2, 3], () => makeVehicle(persona, change)),
    addresses: change.chance(0.06) ? null : several(change, [0, 1, 1, 2], (nth) => makeAddress(nth, home, change)),
  }
}

function makeVehicle(persona: Random, change: Random): JsonObject {
  const [vehicleMake, vehicleModel, vehicleTrim, vehicleEngine] = persona.pick(VEHICLES)
  return {
    vehicleUuid: persona.opaqueId(),
    vehicleKey: null,
    vin: `1GD${persona.hex(14).toUpperCase()}`,
    vehicleMake,
    vehicleModel,
    vehicleYear: String(2005 + persona.below(20)),
    vehicleTrim,
    vehicleEngine,
    isValid: change.chance(0.9),
    ...(change.chance(0.3) && { licensePlate: persona.hex(7).toUpperCase(), estimatedMileage: change.digits(5) }),
  }
}

function makeAddress(nth: number, home: { street: string; city: (typeof CITIES)[number] }, change: Random): JsonObject {
  const [city, state, zip] = home.city
  return {
    type: nth === 0 ? 'PRIMARY' : 'BILLING',
    addressType: nth === 0 ? 'P' : 'B',
    line1: nth === 0 ? home.street : change.pick(STREETS),
    line2: change.chance(0.7) ? null : `Apt ${change.below(90)}`,
    ...(change.chance(0.5) && { city }),
    zip,
    state,
    country: state === 'QC' ? 'CAN' : 'USA',
    isValid: true,
    isPreferred: change.chance(0.3),
  }
}

function several<T>(random: Random, counts: readonly number[], make: (nth: number) => T): T[] {
  return Array.from({ length: random.pick(counts) }, (_, nth) => make(nth))
}
