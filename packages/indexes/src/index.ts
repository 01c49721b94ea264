export { normaliseEmail, normalisePhone, normaliseVin } from './normalise.ts'
export { type IndexOptions, indexTerms } from './terms.ts'
