export const customerPath = (customerUuid: string): string => `/v1/customers/${encodeURIComponent(customerUuid)}`
