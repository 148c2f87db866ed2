let goldenTable = ""
