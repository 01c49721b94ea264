import { expect, it } from 'vitest'
import { propertiesOf } from './local-kafka.ts'

it('characters that Java would misread in a properties file are escaped', () => {
  expect(propertiesOf({ 'ssl.keystore.location': '/home/Zoë/a\\b, "c" #1 %20=😀.p12' })).toBe(
    'ssl.keystore.location=/home/Zo\\u00eb/a\\u005cb, "c" #1 %20=\\ud83d\\ude00.p12\n',
  )
})
