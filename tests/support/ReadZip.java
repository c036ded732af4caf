import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Collections;
import java.util.HexFormat;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import java.util.zip.ZipInputStream;

/** Prints name and SHA-256 of every entry, as java.util.zip reads them: "seek" or "stream". */
class ReadZip {
    public static void main(String[] arguments) throws Exception {
        Path archive = Path.of(arguments[1]);
        if (arguments[0].equals("seek")) {
            try (ZipFile zip = new ZipFile(archive.toFile(), StandardCharsets.ISO_8859_1)) {
                for (ZipEntry entry : Collections.list(zip.entries())) {
                    try (InputStream content = zip.getInputStream(entry)) {
                        print(entry, content);
                    }
                }
            }
        } else {
            try (InputStream file = Files.newInputStream(archive);
                    ZipInputStream zip = new ZipInputStream(file, StandardCharsets.ISO_8859_1)) {
                for (ZipEntry entry = zip.getNextEntry(); entry != null; entry = zip.getNextEntry()) {
                    print(entry, zip);
                }
            }
        }
    }

    private static void print(ZipEntry entry, InputStream content) throws Exception {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        byte[] buffer = new byte[1 << 16];
        for (int count = content.read(buffer); count >= 0; count = content.read(buffer)) {
            digest.update(buffer, 0, count);
        }
        HexFormat hex = HexFormat.of();
        System.out.println(hex.formatHex(entry.getName().getBytes(StandardCharsets.UTF_8))
                + " " + hex.formatHex(digest.digest()));
    }
}
