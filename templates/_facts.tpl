% # What is known of a thing, by title. Wants: fields.
<dl class="record">
% for field in fields:
  <div class="{{'long' if field.multiline or getattr(field, "lines", None) else ''}}">
    <dt>{{field.title}}</dt>
%   if field.text == "" or field.text is None:
    <dd class="none">—</dd>
%   elif getattr(field, "lines", None):
%     headings, rows = field.lines
    <dd><div class="scroll" role="region" aria-label="{{field.title}}" tabindex="0"><table class="data">
      <thead><tr>
%     for title, numeric in headings:
        <th scope="col" class="{{'num' if numeric else ''}}">{{title}}</th>
%     end
      </tr></thead>
      <tbody>
%     for row in rows:
        <tr>
%       for (title, numeric), text in zip(headings, row):
          <td class="{{'num' if numeric else ''}}"><bdi>{{text}}</bdi></td>
%       end
        </tr>
%     end
      </tbody>
    </table></div></dd>
%   elif getattr(field, "files", None):
    <dd><ul class="files">
%     for name, href in field.files:
      <li><a href="{{href}}"><bdi>{{name}}</bdi></a></li>
%     end
    </ul></dd>
%   elif field.href:
    <dd><a href="{{field.href}}"><bdi>{{field.text}}</bdi></a></dd>
%   else:
    <dd><bdi>{{field.text}}</bdi></dd>
%   end
  </div>
% end
</dl>
