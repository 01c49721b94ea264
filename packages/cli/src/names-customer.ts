/** Returns true if the value contains the id as a JSON string, also inside another JSON string. */
export const namesCustomer = (value: Buffer | null, customerUuid: string): boolean => {
  const text = JSON.stringify(customerUuid).slice(1, -1)
  return value !== null && (value.includes(`"${text}"`) || value.includes(`\\"${text}\\"`))
}
